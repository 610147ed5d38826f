"""What voluntary disruptions must leave running."""

from helm.values.section import Int32, Values


class DisruptionBudget(Values):
    """PodDisruptionBudgets. Ray's resources have no scale, so the numbers are whole."""

    enabled: bool = True
    """Make one for the head, and one for the workers if a number is given."""
    min_available_workers: Int32 = 0
    """Workers of all groups together that must stay; 0 makes no budget."""


class Tests(Values):
    """Pods of `helm test`."""

    enabled: bool = True
    """Make them."""
