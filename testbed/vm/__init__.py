"""An image to a running VM."""
