package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// The SDK's script that connects a program to the engine.
	executor = "pulumi-language-python-exec"
	// What the script exits with when it has shown the user the error already.
	errorShown = 32
)

var errNoDebugger = status.Error(codes.Unimplemented, "this language host has no debugger")

// Run runs the stack's program to its end.
func (h *host) Run(ctx context.Context, r *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	if r.AttachDebugger {
		return nil, errNoDebugger
	}
	python, err := environment(r.Info)
	if err != nil {
		return nil, err
	}
	if r.Info.Options.AsMap()["virtualenv"] != nil { // a named one that is missing is a mistake to show
		if err := python.ValidateVenv(ctx); err != nil {
			return nil, err
		}
	}
	script, err := findExecutor()
	if err != nil {
		return nil, err
	}
	config, err := configVariables(r)
	if err != nil {
		return nil, err
	}
	command, err := python.Command(ctx, append([]string{
		"-u", script,
		"--project", r.Project, "--stack", r.Stack, "--organization", r.Organization,
		"--root_directory", r.Info.RootDirectory, "--pwd", r.Pwd,
		"--monitor", r.MonitorAddress, "--engine", h.engine,
		"--parallel", strconv.Itoa(int(r.Parallel)), "--dry_run", strconv.FormatBool(r.DryRun),
		filepath.Join(r.Info.ProgramDirectory, r.Info.EntryPoint),
	}, r.Args...)...)
	if err != nil {
		return nil, err
	}
	command.Env = append(command.Environ(), config...)
	command.Dir, command.Stdout, command.Stderr = r.Pwd, os.Stdout, os.Stderr
	code, err := exitCode(command.Run())
	switch {
	case err != nil:
		return nil, fmt.Errorf("running the program: %w", err)
	case code == errorShown:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case code != 0:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program ended with %s", command.ProcessState)}, nil
	}
	return &pulumirpc.RunResponse{}, nil
}

// RunPlugin runs a plugin or policy pack that is a folder with a Python program, relaying what it prints.
func (h *host) RunPlugin(
	r *pulumirpc.RunPluginRequest, stream grpc.ServerStreamingServer[pulumirpc.RunPluginResponse],
) error {
	if r.AttachDebugger {
		return errNoDebugger
	}
	python, err := environment(r.Info)
	if err != nil {
		return err
	}
	closer, stdout, stderr, err := rpcutil.MakeRunPluginStreams(stream, false)
	if err != nil {
		return err
	}
	defer closer.Close()
	program := filepath.Join(r.Info.ProgramDirectory, r.Info.EntryPoint)
	command, err := python.Command(stream.Context(), append([]string{"-u", program}, r.Args...)...)
	if err != nil {
		return err
	}
	command.Env = append(command.Environ(), r.Env...)
	command.Dir, command.Stdout, command.Stderr = r.Pwd, stdout, stderr
	code, err := exitCode(command.Run())
	if err != nil {
		return err
	}
	return stream.Send(&pulumirpc.RunPluginResponse{
		Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: int32(code)},
	})
}

// findExecutor looks beside this binary first, so that host and script are of one version.
func findExecutor() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), executor)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	return exec.LookPath(executor)
}

// configVariables passes the stack's configuration the way the SDK reads it.
func configVariables(r *pulumirpc.RunRequest) ([]string, error) {
	// Copies, since an absent map or list would become null, over which the SDK cannot iterate.
	values := map[string]string{}
	maps.Copy(values, r.Config)
	config, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	secretKeys, err := json.Marshal(append([]string{}, r.ConfigSecretKeys...))
	if err != nil {
		return nil, err
	}
	return []string{"PULUMI_CONFIG=" + string(config), "PULUMI_CONFIG_SECRET_KEYS=" + string(secretKeys)}, nil
}

// exitCode tells how a process ended; the error is for one that could not run.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
