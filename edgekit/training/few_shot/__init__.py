"""Few-shot classification: classes that are learnt from a handful of examples."""
