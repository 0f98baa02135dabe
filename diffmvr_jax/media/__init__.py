"""Frames in and out: video files, cameras, pictures; no model."""
