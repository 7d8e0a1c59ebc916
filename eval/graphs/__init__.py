"""Attribution graphs of circuit-tracer and Neuronpedia: read in pieces, asked about their features, labelled."""
