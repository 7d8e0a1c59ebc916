"""A proportion with its n and interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Proportion:
    """k of n."""

    k: int
    n: int
    """At least 1: of nothing there is no share."""

    @property
    def value(self) -> float:
        """k / n."""
        return self.k / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of E. B. Wilson (1927)."""
        from scipy.stats import binomtest  # here, since a command that prints no share would wait for it

        bounds = binomtest(self.k, self.n).proportion_ci(method="wilson")
        return float(bounds.low), float(bounds.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}]"
