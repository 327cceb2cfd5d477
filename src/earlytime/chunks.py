"""Inputs that are drawn chunk by chunk, for more of them than fit into memory."""

from earlytime._chunks import Chunks as Chunks
