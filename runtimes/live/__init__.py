"""Live: a window that slides over camera and microphone, and what is told of it."""
