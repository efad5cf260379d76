"""Other collectors' files, made into a pps.toml. Pure parsers, one noun a file; only `files.py` reads and writes."""
