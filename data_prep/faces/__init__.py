"""From a found face to its crop and its guidance images."""
