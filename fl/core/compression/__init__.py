"""Updates and weights in fewer bytes, and what compression left out of one round's update sent with the next."""

from fl.core.compression.api import Compression
from fl.core.compression.blockwise import Int8
from fl.core.compression.decoder import Decoder, Piece
from fl.core.compression.feedback import Feedback
from fl.core.compression.halves import Bfloat16, Float16
from fl.core.compression.topk import TopK
from fl.core.compression.uncompressed import Uncompressed

__all__ = ["Bfloat16", "Compression", "Decoder", "Feedback", "Float16", "Int8", "Piece", "TopK", "Uncompressed"]
