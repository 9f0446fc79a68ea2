package hcnnet

// Missing is the HNS of a host that has none: each of its calls fails with why. With it a
// daemon can serve all but pods, and tell in its status what the host lacks.
func Missing(why error) HNS { return missing{why} }

type missing struct{ why error }

var _ HNS = missing{}

func (m missing) Version() (Version, error)                   { return Version{}, m.why }
func (m missing) CreateNamespace(string) (string, error)      { return "", m.why }
func (m missing) NamespaceEndpoints(string) ([]string, error) { return nil, m.why }
func (m missing) DeleteNamespace(string) error                { return m.why }
func (m missing) Endpoint(string) (Endpoint, error)           { return Endpoint{}, m.why }
func (m missing) Endpoints() ([]Endpoint, error)              { return nil, m.why }
func (m missing) RemoveEndpoint(string, string) error         { return m.why }
func (m missing) DeleteEndpoint(string) error                 { return m.why }
func (m missing) Network(string) (Network, error)             { return Network{}, m.why }
func (m missing) EndpointStats(string) (Stats, error)         { return Stats{}, m.why }
