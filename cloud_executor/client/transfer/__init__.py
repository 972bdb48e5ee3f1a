"""Transfers of blobs: uploads, downloads, and artifacts."""
