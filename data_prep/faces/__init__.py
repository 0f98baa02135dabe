"""What is known of one face, and the guidance images made of it."""
