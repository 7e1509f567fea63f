package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

func init() {
	register("accounts", "make -n accounts user0@ … of -domain through Postel's control socket -sock", accountsCmd)
}

// controlClient speaks the admin API over the control socket.
func controlClient(sock string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sock)
	}}}
}

func accountsCmd(args []string) {
	o := newOpts("accounts")
	sock := o.fs.String("sock", "", "control socket")
	domain := o.fs.String("domain", "bench.example", "domain of the accounts")
	o.parse(args)
	cl := controlClient(*sock)
	var next, made atomic.Int64
	var wg sync.WaitGroup
	for range o.c {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= o.n {
					return
				}
				body, _ := json.Marshal(map[string]string{"address": fmt.Sprintf("user%d@%s", i, *domain), "password": o.pass})
				r, err := cl.Post("http://postel/v1/accounts", "application/json", bytes.NewReader(body))
				if err != nil {
					fatal("accounts: %v", err)
				}
				io.Copy(io.Discard, r.Body)
				r.Body.Close()
				if r.StatusCode == http.StatusOK {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	emit(map[string]any{"label": o.label, "cmd": "accounts", "made": made.Load()})
}

// postelMessages counts the messages of all accounts.
func postelMessages(sock string) (int, error) {
	r, err := controlClient(sock).Get("http://postel/v1/accounts")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	n := 0
	for d := json.NewDecoder(r.Body); ; {
		var a struct{ Messages int }
		if err := d.Decode(&a); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n += a.Messages
	}
}
