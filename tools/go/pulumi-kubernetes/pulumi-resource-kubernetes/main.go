// Command pulumi-resource-kubernetes is Pulumi's Kubernetes provider. The module carries its schema and its mapping,
// but not the generated files that its own main embeds, so this main takes them from the module.
package main

import (
	"bytes"
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var mapping []byte

func main() {
	// The module's schema has no version, and the engine wants the provider's.
	stamped := bytes.Replace(schema, []byte("{"), []byte(`{"version":"`+version.Version+`",`), 1)
	provider.Serve("kubernetes", version.Version, stamped, mapping)
}
