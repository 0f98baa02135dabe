"""Starting runs: the demo, and launchers for clusters."""
