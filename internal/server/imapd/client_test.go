package imapd

import (
	"crypto/tls"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	gomail "github.com/emersion/go-message"
)

// TestForeignClient: another implementation of IMAP over STARTTLS understands what we say.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	arrived := make(chan uint32, 16)
	expunged := make(chan uint32, 16)
	c, err := imapclient.DialStartTLS(w.addr, &imapclient.Options{
		TLSConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"imap"}},
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{
			Mailbox: func(d *imapclient.UnilateralDataMailbox) {
				if d.NumMessages != nil {
					arrived <- *d.NumMessages
				}
			},
			Expunge: func(n uint32) { expunged <- n },
		},
	})
	must(t, err)
	defer func() { _ = c.Close() }()
	must(t, c.Login("alice", "secret").Wait())
	for _, want := range []imap.Cap{
		imap.CapIdle, imap.CapUIDPlus, imap.CapNamespace, imap.CapUnselect, imap.CapChildren,
		imap.CapSpecialUse, imap.CapID, imap.CapSASLIR, imap.CapLiteralPlus, imap.CapMove, imap.CapEnable, imap.CapStatusSize,
		imap.CapESearch, imap.CapListExtended, imap.CapListStatus, imap.CapCreateSpecialUse,
	} {
		if !c.Caps().Has(want) {
			t.Errorf("no %s", want)
		}
	}
	foreignMailboxes(t, c)
	foreignAppend(t, c)
	foreignFetch(t, c)
	foreignSearch(t, c)
	for len(arrived) > 0 {
		<-arrived
	}

	idle, err := c.Idle()
	must(t, err)
	w.deliver("INBOX", hello, 0)
	select {
	case n := <-arrived:
		if n != uint32(len(mails)+1) {
			t.Errorf("%d messages", n)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing is heard in IDLE")
	}
	must(t, idle.Close())
	must(t, idle.Wait())
	foreignMove(t, c)
	must(t, c.Logout().Wait())
}

func foreignMailboxes(t *testing.T, c *imapclient.Client) {
	t.Helper()
	must(t, c.Create("Müller & Söhne/2026", nil).Wait())
	list, err := c.List("", "*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true}, ReturnSpecialUse: true}).Collect()
	must(t, err)
	found := map[string][]imap.MailboxAttr{}
	for _, l := range list {
		found[l.Mailbox] = l.Attrs
		if l.Delim != '/' || l.Status == nil || *l.Status.NumMessages != 0 {
			t.Errorf("%+v", l)
		}
	}
	if !slices.Contains(found["Sent"], imap.MailboxAttrSent) || !slices.Contains(found["Müller & Söhne"], imap.MailboxAttrHasChildren) {
		t.Errorf("%v", found)
	}
	ns, err := c.Namespace().Wait()
	must(t, err)
	if len(ns.Personal) != 1 || ns.Personal[0].Delim != '/' {
		t.Errorf("%+v", ns)
	}
	id, err := c.ID(&imap.IDData{Name: "test"}).Wait()
	must(t, err)
	if id.Name != "Postel" {
		t.Errorf("%+v", id)
	}
	_, err = c.Select("Müller & Söhne/2026", nil).Wait()
	must(t, err)
}

func foreignAppend(t *testing.T, c *imapclient.Client) {
	t.Helper()
	for i, m := range mails {
		m = strings.ReplaceAll(m, "\n", "\r\n")
		cmd := c.Append("INBOX", int64(len(m)), &imap.AppendOptions{
			Flags: []imap.Flag{imap.FlagFlagged, "$Test"}, Time: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC),
		})
		_, err := io.WriteString(cmd, m)
		must(t, err)
		must(t, cmd.Close())
		data, err := cmd.Wait()
		must(t, err)
		if data.UID != imap.UID(i+1) {
			t.Errorf("%+v", data)
		}
	}
	sel, err := c.Select("INBOX", nil).Wait()
	must(t, err)
	if sel.NumMessages != uint32(len(mails)) || sel.UIDNext != imap.UID(len(mails)+1) || !slices.Contains(sel.PermanentFlags, imap.FlagWildcard) {
		t.Errorf("%+v", sel)
	}
}

func foreignFetch(t *testing.T, c *imapclient.Client) {
	t.Helper()
	whole := &imap.FetchItemBodySection{Peek: true}
	msgs, err := c.Fetch(imap.SeqSetNum(1, 2, 3), &imap.FetchOptions{
		Envelope: true, Flags: true, InternalDate: true, RFC822Size: true, UID: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: []*imap.FetchItemBodySection{whole},
	}).Collect()
	must(t, err)
	for i, m := range msgs {
		want := strings.ReplaceAll(mails[i], "\n", "\r\n")
		if got := string(m.FindBodySection(whole)); got != want || m.RFC822Size != int64(len(want)) {
			t.Errorf("message %d is %q", i, got)
		}
		if !m.InternalDate.Equal(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)) || !slices.Contains(m.Flags, imap.Flag("$Test")) {
			t.Errorf("%+v", m)
		}
	}
	m := msgs[1]
	if m.Envelope.Subject != "Grüße aus Köln" || m.Envelope.Cc[1].Name != "Carol C." || m.Envelope.MessageID != "two@example.net" {
		t.Errorf("%+v", m.Envelope)
	}
	sections(t, c, m.BodyStructure)
}

// sections compares each leaf with what another MIME parser says.
func sections(t *testing.T, c *imapclient.Client, bs imap.BodyStructure) {
	t.Helper()
	var kinds []string
	bs.Walk(func(path []int, part imap.BodyStructure) bool {
		kinds = append(kinds, part.MediaType())
		if _, leaf := part.(*imap.BodyStructureSinglePart); !leaf {
			return true
		}
		item := &imap.FetchItemBodySection{Part: path, Peek: true}
		msgs, err := c.Fetch(imap.SeqSetNum(2), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{item}}).Collect()
		must(t, err)
		got := string(msgs[0].FindBodySection(item))
		if want := foreignPart(t, strings.ReplaceAll(mails[1], "\n", "\r\n"), path); got != want {
			t.Errorf("part %v is %q, want %q", path, got, want)
		}
		return true
	})
	want := "multipart/mixed multipart/alternative text/plain text/html message/rfc822"
	if got := strings.Join(kinds, " "); !strings.HasPrefix(got, want) {
		t.Errorf("%s", got)
	}
}

// foreignPart finds a part's raw body with mime/multipart's rules by way of go-message.
func foreignPart(t *testing.T, raw string, path []int) string {
	t.Helper()
	e, err := gomail.Read(strings.NewReader(raw))
	if err != nil && !gomail.IsUnknownCharset(err) {
		t.Fatal(err)
	}
	_ = e
	// Decoding is not wanted here, so the parts are cut by hand along the boundaries of the test mail.
	for _, n := range path {
		_, params, _ := e.Header.ContentType()
		b := params["boundary"]
		if b == "" { // a message within a message/rfc822
			_, raw, _ = strings.Cut(raw, "\r\n\r\n")
			e, _ = gomail.Read(strings.NewReader(raw))
			_, params, _ = e.Header.ContentType()
			b = params["boundary"]
		}
		pieces := strings.Split("\r\n"+raw, "\r\n--"+b)
		raw = strings.TrimPrefix(pieces[n], "\r\n")
		e, _ = gomail.Read(strings.NewReader(raw))
	}
	if strings.HasPrefix(raw, "\r\n") {
		return raw[2:]
	}
	_, body, _ := strings.Cut(raw, "\r\n\r\n")
	return body
}

func foreignSearch(t *testing.T, c *imapclient.Client) {
	t.Helper()
	for want, criteria := range map[string]*imap.SearchCriteria{
		"2":   {Text: []string{"viele grüße"}},
		"1 2": {Header: []imap.SearchCriteriaHeaderField{{Key: "From", Value: "bob@"}}},
		"3":   {Not: []imap.SearchCriteria{{Header: []imap.SearchCriteriaHeaderField{{Key: "Date"}}}}},
		"":    {Since: time.Now()},
	} {
		data, err := c.Search(criteria, &imap.SearchOptions{ReturnAll: true, ReturnCount: true}).Wait()
		must(t, err)
		nums := data.AllSeqNums()
		var words []string
		for _, n := range nums {
			words = append(words, string(rune('0'+n)))
		}
		if got := strings.Join(words, " "); got != want || data.Count != uint32(len(nums)) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}

func foreignMove(t *testing.T, c *imapclient.Client) {
	t.Helper()
	moved, err := c.Move(imap.UIDSetNum(1), "Archive").Wait()
	must(t, err)
	if moved.DestUIDs.String() != "1" {
		t.Errorf("%+v", moved)
	}
	copied, err := c.Copy(imap.SeqSetNum(1, 2), "Archive").Wait()
	must(t, err)
	if copied.SourceUIDs.String() != "2:3" || copied.DestUIDs.String() != "2:3" {
		t.Errorf("%+v", copied)
	}
	_, err = c.Store(imap.SeqSetNum(1, 2), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Collect()
	must(t, err)
	gone, err := c.UIDExpunge(imap.UIDSetNum(2, 3)).Collect()
	must(t, err)
	if len(gone) != 2 {
		t.Errorf("%v", gone)
	}
	st, err := c.Status("Archive", &imap.StatusOptions{NumMessages: true, Size: true}).Wait()
	must(t, err)
	if *st.NumMessages != 3 || *st.Size == 0 {
		t.Errorf("%+v", st)
	}
}
