// Command pulumi-language-python lets a Pulumi CLI that was built from its Go module run Python programs. The
// vendor's own language host comes only with the vendor's release and is preferred where it exists.
//
// It answers what programs, plugins and policy packs need. Code generation (`pulumi convert`, `package add`), project
// templates and the debugger stay unimplemented, and the CLI says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// How often to ask whether the engine still lives, so that a killed one leaves no orphan.
const engineCheck = time.Minute

func main() {
	flag.String("tracing", "", "accepted for the engine's sake, unused")
	flag.Parse()
	if err := serve(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-python:", err)
		os.Exit(1)
	}
}

// serve answers the engine at the given address until it cancels, dies, or a signal comes.
func serve(engine string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if engine != "" {
		if err := rpcutil.Healthcheck(ctx, engine, engineCheck, cancel); err != nil {
			return err
		}
	}
	quit := make(chan bool)
	context.AfterFunc(ctx, func() { close(quit) })
	server, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: quit,
		Init: func(s *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(s, &host{engine: engine, cancel: cancel})
			return nil
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(server.Port) // the engine reads the port from the first line
	return <-server.Done
}
