"""`pps verify`: every mail accounted for, against ledger, blobs, targets and servers."""
