"""Work on many videos, in this process or on a cluster that Ray keeps."""
