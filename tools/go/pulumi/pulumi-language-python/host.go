package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// host is the LanguageRuntime service; programs and plugins are run in program.go.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine string
	cancel context.CancelFunc
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.cancel()
	return &emptypb.Empty{}, nil
}

// GetRequiredPackages names the providers that the environment's packages declare in their pulumi-plugin.json.
func (h *host) GetRequiredPackages(
	ctx context.Context, r *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	python, err := environment(r.Info)
	if err != nil {
		return nil, err
	}
	packages := &pulumirpc.GetRequiredPackagesResponse{}
	venv, err := python.VirtualEnvPath(ctx)
	if err != nil || venv == "" {
		return packages, nil // no environment to look in: the engine asks when a resource needs a provider
	}
	files, err := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages", "*", "pulumi-plugin.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		declared, err := readPlugin(file)
		if err != nil {
			return nil, err
		}
		if declared.Resource && declared.Name != "" {
			packages.Packages = append(packages.Packages, &pulumirpc.PackageDependency{
				Kind: "resource", Name: declared.Name, Version: declared.Version, Server: declared.Server,
			})
		}
	}
	return packages, nil
}

func readPlugin(file string) (declared plugin.PulumiPluginJSON, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return declared, err
	}
	if err := json.Unmarshal(content, &declared); err != nil {
		return declared, fmt.Errorf("%s: %w", file, err)
	}
	return declared, nil
}

// InstallDependencies is `pulumi install`.
func (h *host) InstallDependencies(
	r *pulumirpc.InstallDependenciesRequest, stream grpc.ServerStreamingServer[pulumirpc.InstallDependenciesResponse],
) error {
	python, err := environment(r.Info)
	if err != nil {
		return err
	}
	closer, stdout, stderr, err := rpcutil.MakeInstallDependenciesStreams(stream, r.IsTerminal)
	if err != nil {
		return err
	}
	return errors.Join(
		python.InstallDependencies(
			stream.Context(), r.Info.ProgramDirectory, r.UseLanguageVersionTools, true, stdout, stderr),
		closer.Close())
}

// About and GetProgramDependencies are `pulumi about`.
func (h *host) About(ctx context.Context, r *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	python, err := environment(r.Info)
	if err != nil {
		return nil, err
	}
	info, err := python.About(ctx)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.AboutResponse{Executable: info.PythonExecutable, Version: info.PythonVersion.String()}, nil
}

func (h *host) GetProgramDependencies(
	ctx context.Context, r *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	python, err := environment(r.Info)
	if err != nil {
		return nil, err
	}
	installed, err := python.ListPackages(ctx, r.TransitiveDependencies)
	if err != nil {
		return nil, err
	}
	answer := &pulumirpc.GetProgramDependenciesResponse{}
	for _, p := range installed {
		answer.Dependencies = append(answer.Dependencies, &pulumirpc.DependencyInfo{Name: p.Name, Version: p.Version})
	}
	return answer, nil
}
