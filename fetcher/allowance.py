"""How much one poll may fetch by the profile's wish, however many sessions it takes."""


class Allowance:
    """Counts mails and listed octets down; the first mail is always allowed, else a large one would never come."""

    def __init__(self, *, mails: int | None, octets: int | None) -> None:
        self.spent = False  # a mail was left for the next poll
        self._mails = mails
        self._octets = octets
        self._begun = 0

    def takes(self, size: int) -> bool:
        """Count a mail of this listed size, or refuse it: this poll has fetched enough."""
        if self._is_over(size):
            self.spent = True
            return False
        self._begun += 1
        if self._octets is not None:
            self._octets -= size
        return True

    def _is_over(self, size: int) -> bool:
        if self._mails is not None and self._begun >= self._mails:
            return True
        return self._octets is not None and self._begun > 0 and size > self._octets
