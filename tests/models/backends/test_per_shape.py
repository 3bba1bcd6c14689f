"""A form for each shape: one that writes into memory of its own, which holds the rows of that shape alone."""

import torch

from maibench.models.backends.per_shape import PerShape


def rows(x):
    return x.reshape(len(x), -1).sum(1)


def counting(most):
    """A PerShape, and the shapes that a form was made for, in order."""
    made = []

    def make(x):
        made.append(tuple(x.shape))
        given, result = torch.empty_like(x), x.new_empty(len(x))

        def form(x):
            given.copy_(x)
            return torch.sum(given.reshape(len(x), -1), 1, out=result).clone()

        return form

    return PerShape(rows, make, most), made


def test_a_form_is_made_when_a_shape_comes_again():
    function, made = counting(8)
    for _ in range(3):
        for n in (1, 3):
            x = torch.rand(n, 2, 5)
            assert torch.equal(function(x), rows(x))
    assert made == [(1, 2, 5), (3, 2, 5)]


def test_a_shape_that_comes_once_costs_no_form():
    function, made = counting(8)
    for n in range(1, 30):
        function(torch.rand(n, 4))
    assert not made


def test_what_is_laid_out_otherwise_has_a_form_of_its_own():
    function, made = counting(8)
    x = torch.rand(2, 3, 8, 8)
    for _ in range(2):
        function(x)
        function(x.contiguous(memory_format=torch.channels_last))
        function(x.double())
    assert len(made) == 3


def test_no_more_than_most():
    function, made = counting(2)
    for _ in range(3):
        for n in range(1, 6):
            x = torch.rand(n, 4)
            assert torch.equal(function(x), rows(x))
    assert made == [(1, 4), (2, 4)]
    assert len(function.made) == 2


def test_the_rarest_gives_way_to_what_comes_twice_as_often():
    function, made = counting(2)
    for n in (8, 8, 8, 1, 1, 256, 256, 256):  # 256 came three times, 1 twice
        function(torch.rand(n, 4))
    assert made == [(8, 4), (1, 4)]
    x = torch.rand(256, 4)
    assert torch.equal(function(x), rows(x))
    assert made == [(8, 4), (1, 4), (256, 4)]
    assert [shape for _, shape, _ in function.made] == [(8, 4), (256, 4)]
