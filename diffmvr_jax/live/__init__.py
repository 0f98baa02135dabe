"""Restoration as it is filmed, and a page to watch it on."""
