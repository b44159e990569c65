"""The gallery: an output folder as one page of HTML."""

from venice_batch.gallery.page import NAME, Gallery, write_gallery

__all__ = ["NAME", "Gallery", "write_gallery"]
