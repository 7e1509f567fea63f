package s3

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// Location is where objects lie, as a URL tells it:
//
//	s3://KEY:SECRET@host:port/bucket/prefix?region=us-east-1&tls=true
//
// Key and secret may be left out: then AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment (with
// AWS_SESSION_TOKEN) count, else the file ~/.aws/credentials, else the role of the machine. TLS is used but with a
// loopback address, unless tls says otherwise. region is us-east-1 where it is not given, but for hosts of AWS, whose
// name tells it.
type Location struct {
	Endpoint    string // host or host:port
	TLS         bool
	Bucket      string
	Prefix      string // "" or without a slash at either end
	Region      string // "" asks the host's name
	Key, Secret string // both or neither
}

// String gives the URL without key and secret.
func (l Location) String() string {
	u := url.URL{Scheme: "s3", Host: l.Endpoint, Path: "/" + l.Bucket}
	if l.Prefix != "" {
		u.Path += "/" + l.Prefix
	}
	q := url.Values{"tls": {strconv.FormatBool(l.TLS)}}
	if l.Region != "" {
		q.Set("region", l.Region)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// maxURL is the longest URL that is read, in octets.
const maxURL = 4096

// ParseURL reads a Location. The text of its errors (Kind Invalid) never holds the URL itself.
func ParseURL(s string) (Location, error) {
	u, err := url.Parse(s)
	if len(s) > maxURL || err != nil || u.Scheme != "s3" || u.Opaque != "" || u.Fragment != "" {
		return Location{}, invalid("want s3://KEY:SECRET@host:port/bucket/prefix")
	}
	l := Location{Endpoint: u.Host, TLS: !loopback(u.Hostname())}
	if u.Hostname() == "" {
		return Location{}, invalid("the URL names no host")
	}
	l.Bucket, l.Prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if len(l.Bucket) < 3 || len(l.Bucket) > 63 || strings.ContainsFunc(l.Bucket, notBucket) {
		return Location{}, invalid("the URL names no bucket: want s3://host/bucket")
	}
	if len(l.Prefix) > 512 || strings.Contains(l.Prefix, "//") || strings.ContainsFunc(l.Prefix, notPrefix) {
		return Location{}, invalid("the prefix is longer than 512 octets or holds what no name should")
	}
	l.Key = u.User.Username()
	l.Secret, _ = u.User.Password()
	if (l.Key == "") != (l.Secret == "") {
		return Location{}, invalid("key and secret go together: s3://KEY:SECRET@host")
	}
	if err := l.query(u.RawQuery); err != nil {
		return Location{}, err
	}
	return l, nil
}

// query takes what stands behind the question mark.
func (l *Location) query(raw string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return invalid("the URL's parameters cannot be read")
	}
	for name, values := range q {
		v := values[len(values)-1]
		switch name {
		case "region":
			if v == "" || len(v) > 64 || strings.ContainsFunc(v, notBucket) {
				return invalid("region is not the name of one")
			}
			l.Region = v
		case "tls":
			if l.TLS, err = strconv.ParseBool(v); err != nil {
				return invalid("want tls=true or tls=false")
			}
		default:
			return invalid("the URL has an unknown parameter; there are region and tls")
		}
	}
	return nil
}

func invalid(text string) error { return mail.E("s3.url", mail.Invalid, "%s", text) }

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

func notBucket(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
}

func notPrefix(r rune) bool {
	return notBucket(r) && (r < 'A' || r > 'Z') && r != '_' && r != '/'
}
