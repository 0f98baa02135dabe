"""Other methods of video inpainting, run from their own checkouts."""
