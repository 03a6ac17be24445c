//! Aster: typed RPC between programs, peer to peer.
