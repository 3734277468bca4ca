// The page of `charrnn export --html`: a title, the box, and what is known of the model.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const about = read("about");
const model = read("model");
const holds = {
  float32: "The weights are those of the model.",
  float16: "The weights are rounded to half precision: probabilities move by about a thousandth.",
}[model.weights.kind];

document.title = `${about.title} · charrnn`;
document.body.append(
  make("header", {},
    make("h1", {}, about.title),
    make("p", { class: "lead" }, `Write with ${model.kind}. It learnt ${model.name}.`)),
  make("main", {},
    make("section", { id: "try", "aria-labelledby": "try-title" },
      make("h2", { id: "try-title" }, "Try it"), writingBox(model)),
    make("section", { id: "model-facts", "aria-labelledby": "model-title" },
      make("h2", { id: "model-title" }, "The model"),
      make("p", {}, holds), facts(about.facts),
      make("details", {}, make("summary", {}, "Settings"), facts(about.settings)))),
  make("footer", {}, make("p", {},
    `Made by charrnn ${about.version}. Nothing in this page is loaded from elsewhere, and nothing leaves it.`)),
);
