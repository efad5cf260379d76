"""`pps doctor`: one page of checks, each of which is well, a warning, or a problem with its mend. One file an area."""
