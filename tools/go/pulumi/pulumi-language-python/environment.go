package main

import (
	"fmt"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
)

// environment finds the Python that Pulumi.yaml's `runtime.options` name: `virtualenv` (a folder) and `toolchain`
// (auto, pip, poetry, uv). Another option is refused: ignoring it would be a silent difference from the vendor's host.
func environment(info *pulumirpc.ProgramInfo) (toolchain.Toolchain, error) {
	options := toolchain.PythonOptions{Root: info.RootDirectory, ProgramDir: info.ProgramDirectory}
	for name, value := range info.Options.AsMap() {
		text, ok := value.(string)
		switch {
		case ok && name == "virtualenv":
			options.Virtualenv = text
		case ok && name == "toolchain" && text == "auto":
			options.Toolchain = toolchain.Auto
		case ok && name == "toolchain" && text == "pip":
			options.Toolchain = toolchain.Pip
		case ok && name == "toolchain" && text == "poetry":
			options.Toolchain = toolchain.Poetry
		case ok && name == "toolchain" && text == "uv":
			options.Toolchain = toolchain.Uv
		default:
			return nil, fmt.Errorf("Pulumi.yaml: runtime option %s: %v is not supported by this language host; "+
				"it knows virtualenv (a folder) and toolchain (auto, pip, poetry or uv)", name, value)
		}
	}
	return toolchain.ResolveToolchain(options)
}
