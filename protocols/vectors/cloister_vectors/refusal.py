"""How checks of this package fail: with the name of the step, as the vectors name it."""


class Refused(Exception):
    """A value that the specification refuses, and the step that refuses it."""

    def __init__(self, step):
        super().__init__(step)
        self.step = step


def require(condition, step):
    """Refuses at `step` unless the condition holds."""
    if not condition:
        raise Refused(step)


def step_of(check, *arguments):
    """The step at which a check refuses its arguments; it must refuse them."""
    try:
        check(*arguments)
    except Refused as refused:
        return refused.step
    raise AssertionError(f"{check.__name__} accepts what it must refuse: {arguments!r:.200}")
