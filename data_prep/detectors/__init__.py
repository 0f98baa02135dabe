"""What finds faces and occluders in a picture."""
