"""Runs another program, whose OpenCV videos become pictures without loss.

  PYTHON lossless.py FOLDER PROGRAM.py ARGUMENTS…

It is run by the other program's interpreter, and so imports nothing of ours.
"""

import os
import runpy
import sys

import cv2


def pictures_into(folder):
  """Returns a class that stands in for `cv2.VideoWriter`."""

  class PictureWriter:
    def __init__(self, *video):
      os.makedirs(folder, exist_ok=True)
      self.count = 0

    def isOpened(self):
      return True

    def write(self, image):
      path = os.path.join(folder, f"{self.count:05d}.png")
      if not cv2.imwrite(path, image):
        raise OSError(f"{path}: cannot be written")
      self.count += 1

    def release(self):
      pass

  return PictureWriter


if __name__ == "__main__":
  cv2.VideoWriter = pictures_into(sys.argv[1])
  program = os.path.abspath(sys.argv[2])
  sys.argv = sys.argv[2:]
  sys.path.insert(0, os.path.dirname(program))
  runpy.run_path(program, run_name="__main__")
