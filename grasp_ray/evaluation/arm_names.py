"""Names of an audit's arms: which removal an arm belongs to, and whether it is the removal or a control.

baseline                         nothing is removed
influence                        the k most harmful photos of each misclassified visit (the paper's)
random, class_matched            as many photos by chance
suspects                         the k percent of the training visits with the most suspect labels
suspects_random, …_class_matched as many visits by chance
"""

BASELINE, INFLUENCE, SUSPECTS = "baseline", "influence", "suspects"

REMOVALS = (INFLUENCE, SUSPECTS)
"""The arms that an audit may choose beside the baseline."""

CONTROLS = ("random", "class_matched")


def removal_of(arm: str) -> str:
    """`baseline`, or the removal that the arm is or controls."""
    if arm == BASELINE:
        return BASELINE
    return SUSPECTS if arm.startswith(SUSPECTS) else INFLUENCE


def control_of(arm: str) -> str:
    """The kind of control that the arm is, `random` say; '' for the baseline and the removals themselves."""
    return "" if arm in (BASELINE, *REMOVALS) else arm.removeprefix(f"{SUSPECTS}_")


def control_arm(removal: str, control: str) -> str:
    """The arm that is this control of a removal."""
    return f"{SUSPECTS}_{control}" if removal == SUSPECTS else control
