"""The parts of docs/ that are generated: keys of the configuration from its models, commands from the tree of them."""
