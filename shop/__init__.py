"""Everything the functions share: the protocol that charges an order once, and its edges."""

import sys

# The driver looks for pyOpenSSL, which its asynchronous part never uses. It is not here; but the search imports all of
# cryptography, which is here for those who verify tokens, and takes a tenth of a cold start.
sys.modules.setdefault("pymongo.pyopenssl_context", None)  # type: ignore[arg-type]
