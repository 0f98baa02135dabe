"""What the process runs on: other processes, memory, arithmetic, devices."""
