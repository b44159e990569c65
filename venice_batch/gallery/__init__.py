"""The gallery: an output folder as one page of HTML."""

from venice_batch.gallery.page import Gallery, GalleryPage, write_gallery

__all__ = ["Gallery", "GalleryPage", "write_gallery"]
