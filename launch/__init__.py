"""Starting runs: the demos, and launchers for clusters."""
