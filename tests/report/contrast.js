// Contrast as WCAG 2.2 defines it, of every text that can be seen. What is painted below a text is
// laid over what is painted below that, and so on.
() => {
  const parse = (text) => text.match(/[\d.]+/g).map(Number).concat([1]).slice(0, 4);
  const over = (top, under) =>
    top.slice(0, 3).map((one, k) => one * top[3] + under[k] * (1 - top[3]));
  const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  const weights = [0.2126, 0.7152, 0.0722];
  const light = (rgb) => rgb.reduce((sum, one, k) => sum + weights[k] * linear(one / 255), 0);
  const failed = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const element = walker.currentNode.parentElement;
    const isVisible = element.checkVisibility({ visibilityProperty: true });
    if (!text || element.closest("script") || !isVisible) continue;
    const style = getComputedStyle(element);
    const chain = [];
    for (let parent = element; parent; parent = parent.parentElement) {
      chain.unshift(getComputedStyle(parent));
    }
    const white = [255, 255, 255];
    const under = chain.reduce((colour, one) => over(parse(one.backgroundColor), colour), white);
    const ink = parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const opacity = chain.reduce((product, one) => product * Number(one.opacity), ink[3]);
    const lights = [light(over([...ink.slice(0, 3), opacity], under)), light(under)];
    const [high, low] = lights.sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (high + 0.05) / (low + 0.05);
    seen += 1;
    if (contrast < (isLarge ? 3 : 4.5)) failed.push(`${text.slice(0, 20)}: ${contrast.toFixed(2)}`);
  }
  return { seen, failed };
}
