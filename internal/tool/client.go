package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"postel/internal/config"
	"postel/internal/mail"
)

// DefaultConfig is where a server's configuration stands.
const DefaultConfig = "/etc/postel/postel.toml"

// ControlSocket is the name of the socket in the data directory.
const ControlSocket = "control.sock"

// Client speaks the admin API, to a server or to data opened for this command.
type Client struct {
	do    func(*http.Request) (*http.Response, error)
	close func() error
}

// Client reaches the server that --config or --data names; without either, the default config's, else a running
// `postel dev`, which is said. With no server running the data is opened directly.
func (e *Env) Client(ctx context.Context) (*Client, error) {
	data, err := e.dataDir()
	if err != nil {
		return nil, err
	}
	if data == "" {
		if socket, err := FindDev(); err == nil {
			if c := dial(ctx, socket); c != nil {
				e.Say("(talking to the running postel dev)")
				return c, nil
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, &ExitError{NoServer, err}
		}
		return nil, Fail(NoServer, "no server: %s does not exist and no `postel dev` runs; name one with --config or --data", DefaultConfig)
	}
	if c := dial(ctx, filepath.Join(data, ControlSocket)); c != nil {
		return c, nil
	}
	return e.offline(ctx, data)
}

// Running is Client for commands that only a running server can answer.
func (e *Env) Running(ctx context.Context) (*Client, error) {
	offline := e.Offline
	e.Offline = nil
	defer func() { e.Offline = offline }()
	return e.Client(ctx)
}

func (e *Env) offline(ctx context.Context, data string) (*Client, error) {
	if e.Offline == nil {
		return nil, Fail(NoServer, "no server runs on %s", data)
	}
	if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) && e.Existing {
		return nil, Fail(NoServer, "there is no data directory %s: is --data, or data in the configuration, right?", data)
	}
	api, stop, err := e.Offline(ctx, e.ConfigFile(), data)
	if err != nil {
		return nil, err
	}
	ln := newPipe()
	srv := &http.Server{Handler: api, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	t := &http.Transport{DialContext: ln.dial}
	return &Client{do: (&http.Client{Transport: t}).Do, close: func() error {
		t.CloseIdleConnections()
		return errors.Join(srv.Close(), stop())
	}}, nil
}

// ConfigFile gives the file in force, "" when there is none.
func (e *Env) ConfigFile() string {
	if e.Config != "" {
		return e.Config
	}
	if _, err := os.Stat(DefaultConfig); err == nil && e.Data == "" {
		return DefaultConfig
	}
	return ""
}

// dataDir gives the data directory in force, "" when nothing names one.
func (e *Env) dataDir() (string, error) {
	if e.Data != "" {
		return e.Data, nil
	}
	file := e.ConfigFile()
	if file == "" {
		return "", nil
	}
	c, err := config.Load(file)
	if err != nil {
		return "", &ExitError{Usage, err}
	}
	return c.Data, nil
}

// dial gives a client of the socket, or nil when nobody listens there.
func dial(ctx context.Context, socket string) *Client {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil
	}
	_ = conn.Close()
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", socket)
	}}
	return &Client{do: (&http.Client{Transport: t}).Do, close: func() error { t.CloseIdleConnections(); return nil }}
}

// Close ends the connection, or closes the data.
func (c *Client) Close() error { return c.close() }

// Call sends in as JSON (nil: nothing) and reads the answer into out (nil: thrown away).
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	return c.Lines(ctx, method, path, in, func(d *json.Decoder) error {
		if out == nil {
			return nil
		}
		return d.Decode(out)
	})
}

// Each reads an answer of one object a line and calls fn with each until the end.
func Each[T any](ctx context.Context, c *Client, path string, fn func(T) error) error {
	return c.Lines(ctx, http.MethodGet, path, nil, func(d *json.Decoder) error { return eachLine(d, fn) })
}

func eachLine[T any](d *json.Decoder, fn func(T) error) error {
	for {
		var v T
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}

// Lines sends a request and gives the decoder of its answer to read.
func (c *Client) Lines(ctx context.Context, method, path string, in any, read func(*json.Decoder) error) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	return c.Exchange(ctx, method, path, body, func(r io.Reader) error { return read(json.NewDecoder(r)) })
}

// Raw gives an answer to read as it is.
func (c *Client) Raw(ctx context.Context, path string, read func(io.Reader) error) error {
	return c.Exchange(ctx, http.MethodGet, path, nil, read)
}

// Stream sends what body gives, as it comes, and reads an answer of one object a line, calling fn with each.
func Stream[T any](ctx context.Context, c *Client, path string, body io.Reader, fn func(T) error) error {
	return c.Exchange(ctx, http.MethodPost, path, io.NopCloser(body), func(r io.Reader) error { return eachLine(json.NewDecoder(r), fn) })
}

// Exchange sends what body gives, however much (nil: nothing), and gives the answer to read as it is.
func (c *Client) Exchange(ctx context.Context, method, path string, body io.Reader, read func(io.Reader) error) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://postel"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.do(r)
	if err != nil {
		return Fail(NoServer, "the server does not answer: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return failure(resp)
	}
	err = read(resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return Fail(NoServer, "the server went away")
	}
	return err
}

// failure turns a refusal into an error with the Kind it had on the server.
func failure(resp *http.Response) error {
	var f struct {
		Error string `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&f)
	if f.Error == "" {
		f.Error = fmt.Sprintf("the server said %s", resp.Status)
	}
	code := Found
	if resp.StatusCode == http.StatusBadRequest {
		code = Usage
	}
	kind := map[int]mail.Kind{
		http.StatusNotFound: mail.NotFound, http.StatusConflict: mail.Exists,
		http.StatusBadRequest: mail.Invalid,
	}[resp.StatusCode]
	return &ExitError{code, &mail.Error{Op: "", Kind: kind, Text: f.Error}}
}
