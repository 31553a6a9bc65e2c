"""What the tests of all lessons demand of a check."""


def check_mistake(verdict, words):
    """A wrong answer is told its idea, with a picture."""
    assert not verdict.passed
    assert words in verdict.message
    assert verdict.picture.finding


def stub(*args):
    raise NotImplementedError


def check_unwritten(exercise, functions=1):
    """An empty stub does not pass, and is told why."""
    verdict = exercise(*[stub] * functions)
    assert not verdict.passed
    assert verdict.message.startswith('not written yet: stub')
