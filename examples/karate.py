"""A small library for graph neural networks, and Zachary's karate club.

The library is what a package on top of wengert would hold: an elementwise operation and a composition of its own (by
`wengert.extend`), gathers and scatters along edges, and layers made of them. The club is that of Wayne W. Zachary, "An
information flow model for conflict and fission in small groups", Journal of Anthropological Research 33 (1977): who
met whom outside, and whom each of the 34 members followed when it split. From two labels, those of the instructor and
of the president, a network learns the other 32.
"""

from __future__ import annotations

import wengert as torch
from wengert import extend, nn
from wengert.extend import Value, ops

# -- the library --


@extend.elementwise
def leaky(x):
    """x, and a fifth of it below zero."""
    return torch.where(x > 0, x, 0.2 * x)


@extend.function(label="NeighbourSoftmaxBackward0")
def neighbour_softmax(scores: Value, index: Value, size: int) -> Value:
    """The softmax of scores (edges, heads) over the edges that share an index, which is below `size`."""
    shape = (size, *scores.shape[1:])
    top = ops.index_reduce(ops.full(shape, 0.0, scores.dtype), 0, index, scores, "amax", include_self=False)
    e = ops.exp(scores - ops.take(top, index, 0))
    total = ops.index_add(ops.full(shape, 0.0, scores.dtype), 0, index, e)
    return e / ops.take(total, index, 0)


def gather(x, index):
    """The rows of x at one end of each edge."""
    return x.index_select(0, index)


def scatter(messages, index, size: int, reduce: str = "sum"):
    """Messages (edges, features) folded into the nodes (size, features) that they go to: "sum", "mean" or "max". A node
    that gets none has zeros.
    """
    start = torch.zeros(size, *messages.shape[1:], dtype=messages.dtype)
    if reduce == "sum":
        return start.index_add(0, index, messages)
    if reduce in ("mean", "max"):
        return start.index_reduce(0, index, messages, {"mean": "mean", "max": "amax"}[reduce], include_self=False)
    raise ValueError(f"reduce must be 'sum', 'mean' or 'max', and not {reduce!r}")


class Graph:
    """Directed edges from `source` to `target`, index tensors, among `nodes` nodes."""

    def __init__(self, edges: list[tuple[int, int]], nodes: int) -> None:
        both = [*edges, *[(b, a) for a, b in edges], *[(k, k) for k in range(nodes)]]
        self.source = torch.tensor([a for a, _ in both])
        self.target = torch.tensor([b for _, b in both])
        self.nodes = nodes


class MessagePassing(nn.Module):
    """A layer in which every node folds the messages of its neighbours. Subclasses say what a message is."""

    reduce = "sum"

    def message(self, x, graph: Graph):
        raise NotImplementedError

    def forward(self, x, graph: Graph):
        return scatter(self.message(x, graph), graph.target, graph.nodes, self.reduce)


class Convolution(MessagePassing):
    """x' = D^-1/2 (A + I) D^-1/2 x W (Kipf and Welling, 2017)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)

    def message(self, x, graph: Graph):
        degree = scatter(torch.ones(len(graph.target), 1), graph.target, graph.nodes)
        weight = (gather(degree, graph.source) * gather(degree, graph.target)).rsqrt()
        return gather(self.linear(x), graph.source) * weight


class Attention(MessagePassing):
    """Neighbours weighted by the softmax of leaky(a . x_source + b . x_target) (Velickovic and others, 2018)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.ends = nn.Linear(outputs, 2, bias=False)

    def message(self, x, graph: Graph):
        h = self.linear(x)
        ends = self.ends(h)
        scores = leaky(gather(ends[:, :1], graph.source) + gather(ends[:, 1:], graph.target))
        return gather(h, graph.source) * neighbour_softmax(scores, graph.target, graph.nodes)


class Pooling(MessagePassing):
    """The mean or the maximum of what neighbours send, after GraphSAGE (Hamilton and others, 2017)."""

    def __init__(self, inputs: int, outputs: int, reduce: str) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.reduce = reduce

    def message(self, x, graph: Graph):
        return gather(self.linear(x), graph.source)


class Network(nn.Module):
    """Two layers; features of the nodes are learned."""

    def __init__(self, layer, nodes: int, hidden: int = 8, classes: int = 2) -> None:
        super().__init__()
        self.first, self.second = layer(nodes, hidden), layer(hidden, classes)

    def forward(self, graph: Graph):
        return self.second(self.first(torch.eye(graph.nodes), graph).tanh(), graph)


# -- the club --

FRIENDS = {
    0: [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31], 1: [2, 3, 7, 13, 17, 19, 21, 30],
    2: [3, 7, 8, 9, 13, 27, 28, 32], 3: [7, 12, 13], 4: [6, 10], 5: [6, 10, 16], 6: [16], 8: [30, 32, 33], 9: [33],
    13: [33], 14: [32, 33], 15: [32, 33], 18: [32, 33], 19: [33], 20: [32, 33], 22: [32, 33],
    23: [25, 27, 29, 32, 33], 24: [25, 27, 31], 25: [31], 26: [29, 33], 27: [33], 28: [31, 33], 29: [32, 33],
    30: [32, 33], 31: [32, 33], 32: [33],
}  # fmt: skip
WITH_INSTRUCTOR = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21]
MEMBERS = 34

LAYERS = {
    "convolution": Convolution,
    "attention": Attention,
    "mean": lambda i, o: Pooling(i, o, "mean"),
    "max": lambda i, o: Pooling(i, o, "max"),
}


def club() -> tuple[Graph, torch.Tensor]:
    """The graph, and the side that each member took: 0 the instructor's, 1 the president's."""
    edges = [(a, b) for a, friends in FRIENDS.items() for b in friends]
    sides = [0 if k in WITH_INSTRUCTOR else 1 for k in range(MEMBERS)]
    return Graph(edges, MEMBERS), torch.tensor(sides)


def train(layer, steps: int = 100, seed: int = 0) -> float:
    """Learn from the first and the last member only; return the share of the others that is told right."""
    torch.manual_seed(seed)
    graph, sides = club()
    network = Network(layer, graph.nodes)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02, weight_decay=1e-3)
    known = torch.tensor([0, MEMBERS - 1])
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(graph)[known], sides[known])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = (network(graph).argmax(1) == sides)[1:-1]
    return right.to(torch.float32).mean().item()


def main(steps: int = 100) -> dict[str, float]:
    """Train each kind of layer; return what share of the other 32 members it tells right."""
    found = {}
    for name, layer in LAYERS.items():
        found[name] = train(layer, steps)
        print(f"{name}: {32 * found[name]:.0f} of 32 members told right")
    return found


if __name__ == "__main__":
    main()
