"""Raw video to records: detection, crops, occlusion, guidance. No JAX here."""
