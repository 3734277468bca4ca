"""Smoothed n-grams of lines in dictionaries: a reference that imports nothing of charrnn.

Chen & Goodman 1998, "An empirical study of smoothing techniques for language modeling", TR-10-98.
Before a line stand order - 1 marks of its beginning, which are never predicted. After it stands one
end, which is. The two are different symbols here, though a file has a newline for both.

N1+(. gram): how many different symbols stand before an n-gram. Below the highest order that is the
count of Kneser-Ney. Nothing but marks stands before an n-gram that begins with one: it keeps the
number of times that it occurs.
"""

from collections import Counter, defaultdict

BEGIN = "beginning of a line"
# Where counts of counts give no discounts (tiny texts); those of KenLM.
FALLBACK = (0.5, 1.0, 1.5)


class LinesReference:
    """The probabilities of a model of lines.

    texts: lists of symbols, each with its end (a last one may lack it). size: of the alphabet.
    """

    def __init__(self, texts, size, order, smoothing):
        self.size = size
        self.order = order
        self.smoothing = smoothing
        self.following = []  # by length: context -> character -> count
        self.discounts = []  # by length: of counts of 1, 2 and more
        for n in range(1, order + 1):
            counts = self.counts(texts, n)
            following = defaultdict(dict)
            for gram, count in counts.items():
                following[gram[:-1]][gram[-1]] = count
            self.following.append(following)
            self.discounts.append(discounts_of(counts.values()))

    def counts(self, texts, n):
        """Count the n-grams of one length, as the smoothing counts them."""
        occurrences = Counter()
        symbols_before = defaultdict(set)
        for text in texts:
            marked = [BEGIN] * (self.order - 1) + list(text)
            for last in range(self.order - 1, len(marked)):
                first = last - n + 1
                gram = tuple(marked[first : last + 1])
                occurrences[gram] += 1
                if n < self.order:
                    symbols_before[gram].add(marked[first - 1])
        if n == self.order or self.smoothing == "witten-bell":
            return occurrences
        return {
            gram: count if gram[0] == BEGIN else len(symbols_before[gram])
            for gram, count in occurrences.items()
        }

    def probability(self, before, char):
        """Return P of a character after the characters `before` it in its line."""
        marked = [BEGIN] * (self.order - 1) + list(before)
        probability = 1 / self.size
        for n in range(1, self.order + 1):
            context = tuple(marked[len(marked) - n + 1 :])
            probability = self.interpolated(n, context, char, probability)
        return probability

    def interpolated(self, n, context, char, shorter):
        """Return P with a context of n - 1 characters. shorter: P with one fewer."""
        following = self.following[n - 1].get(context)
        if following is None:
            return shorter
        total = sum(following.values())
        if self.smoothing == "witten-bell":
            different = len(following)
            return (following.get(char, 0) + different * shorter) / (total + different)
        discounts = self.discounts[n - 1]
        taken = sum(discounts[min(count, 3) - 1] for count in following.values())
        own = 0.0
        if char in following:
            own = following[char] - discounts[min(following[char], 3) - 1]
        return own / total + taken / total * shorter


def discounts_of(counts):
    """Return D1, D2 and D3+ of equation 26, from how many n-grams have each count."""
    times = Counter(counts)
    n1, n2, n3, n4 = (times[k] for k in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if all(0 < discount <= k for k, discount in enumerate(discounts, 1)):
        return discounts
    return FALLBACK
