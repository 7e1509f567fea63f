package imapd

import (
	"context"
	"strings"

	"postel/internal/mail"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// node is a name in the hierarchy: a mailbox, a level above one that is none itself, or a subscribed name.
type node struct {
	name       string
	box        *store.Mailbox // nil: no mailbox
	children   bool
	subscribed bool
	below      bool // a name below is subscribed
}

// nodes gives all names in their order: mailboxes, subscriptions when asked, and the levels above them.
func (s *session) nodes(ctx context.Context, subscriptions bool) ([]*node, error) {
	boxes, err := s.srv.o.Store.Mailboxes(ctx, s.account())
	if err != nil {
		return nil, err
	}
	t := tree{byName: map[string]*node{}}
	for i := range boxes {
		n := t.add(boxes[i].Name)
		n.box = &boxes[i]
		t.above(n.name, func(up *node) { up.children = true })
	}
	if !subscriptions {
		return t.nodes, nil
	}
	names, err := s.srv.o.Store.Subscriptions(ctx, s.account())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		t.add(name).subscribed = true
		t.above(name, func(up *node) { up.below = true })
	}
	return t.nodes, nil
}

type tree struct {
	nodes  []*node
	byName map[string]*node
}

// add gives the node of a name, made with those above it when it is new.
func (t *tree) add(name string) *node {
	if n := t.byName[name]; n != nil {
		return n
	}
	t.above(name, func(*node) {})
	n := &node{name: name}
	t.byName[name] = n
	t.nodes = append(t.nodes, n)
	return n
}

func (t *tree) above(name string, fn func(*node)) {
	for i := range len(name) {
		if name[i] == '/' {
			fn(t.add(name[:i]))
		}
	}
}

// maxPatterns bounds the patterns of a LIST in octets, all together.
const maxPatterns = 2048

// patterns compiles the patterns of a command, each behind its reference (RFC 3501 §6.3.8).
func patterns(l imap.List) ([]*pattern, error) {
	total := 0
	out := make([]*pattern, len(l.Patterns))
	for i, p := range l.Patterns {
		total += len(l.Reference) + len(p)
		if total > maxPatterns {
			return nil, mail.E("imapd.list", mail.TooMany, "patterns are too long")
		}
		out[i] = newPattern(l.Reference + p)
	}
	return out, nil
}

func matches(ps []*pattern, name string) bool {
	for _, p := range ps {
		if p.match(name) {
			return true
		}
	}
	return false
}

// list is LIST, with the options of RFC 5258, RFC 6154 and RFC 5819.
func (s *session) list(ctx context.Context, l imap.List) error {
	if !l.Extended && l.Patterns[0] == "" {
		s.e.ListDelimiter()
		return nil
	}
	ps, err := patterns(l)
	if err != nil {
		return err
	}
	nodes, err := s.nodes(ctx, (l.Select|l.Return)&imap.ListSubscribed != 0)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		chosen, info := n.chosen(l.Select)
		if !chosen && !info || !matches(ps, n.name) {
			continue
		}
		s.e.List(false, imap.ListData{Attributes: n.attributes(l), Name: n.name, ChildInfo: info})
		if len(l.Status) > 0 && chosen && n.box != nil {
			if err := s.tellStatus(ctx, *n.box, l.Status); err != nil && !mail.Is(err, mail.NotFound) {
				return err
			}
		}
	}
	return nil
}

// chosen tells whether selection options choose the name, and whether with RECURSIVEMATCH it is told for the sake
// of a subscribed name below it (RFC 5258 §3.1, §3.5).
func (n *node) chosen(o imap.ListOption) (chosen, info bool) {
	chosen = n.box != nil || n.children
	if o&imap.ListSubscribed != 0 {
		chosen = n.subscribed
		info = o&imap.ListRecursiveMatch != 0 && n.below
	}
	if o&imap.ListSpecialUse != 0 {
		chosen = chosen && n.box != nil && useOf(n.box.Role) != ""
	}
	return chosen, info
}

func useOf(r store.Role) string {
	for _, u := range uses {
		if u.role == r {
			return u.name
		}
	}
	return ""
}

// attributes gives the name's attributes (RFC 3501 §7.2.2, RFC 3348, RFC 5258 §3, RFC 6154 §2).
func (n *node) attributes(l imap.List) []string {
	var a []string
	switch {
	case n.box != nil:
	case l.Extended:
		a = append(a, `\NonExistent`)
	default:
		a = append(a, `\Noselect`)
	}
	if n.children {
		a = append(a, `\HasChildren`)
	} else if n.box != nil {
		a = append(a, `\HasNoChildren`)
	}
	if n.subscribed {
		a = append(a, `\Subscribed`)
	}
	if n.box != nil {
		if use := useOf(n.box.Role); use != "" {
			a = append(a, use)
		}
	}
	return a
}

// lsub is LSUB: subscribed names, and for a pattern that ends in % the levels above them (RFC 3501 §6.3.9).
func (s *session) lsub(ctx context.Context, l imap.List) error {
	ps, err := patterns(l)
	if err != nil {
		return err
	}
	nodes, err := s.nodes(ctx, true)
	if err != nil {
		return err
	}
	levels := strings.HasSuffix(l.Patterns[0], "%")
	for _, n := range nodes {
		if !n.subscribed && !(levels && n.below) || !matches(ps, n.name) {
			continue
		}
		var a []string
		if !n.subscribed || n.box == nil {
			a = append(a, `\Noselect`)
		}
		s.e.List(true, imap.ListData{Attributes: a, Name: n.name})
	}
	return nil
}
