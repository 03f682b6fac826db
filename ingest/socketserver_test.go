package ingest_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// socketServer in the environment makes the test's program the server of
// frames: a process of its own, so that what it costs is not counted.
const socketServer = "MILLRACE_TEST_FRAMES"

const (
	socketSymbols = 20
	socketRound   = 2000 // frames made beforehand
	firstID       = 1_000_000_000
	firstTime     = 1_723_075_200_000_000
)

func socketSymbol(n int) string { return fmt.Sprintf("COIN%02dUSDT", n) }

// startSocketServer gives the address of a server that sends trades as fast as
// they are taken, to whoever connects.
func startSocketServer(t testing.TB) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), socketServer+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "ws://" + strings.TrimSpace(addr)
}

// serveSocket is the server's process. It ends with its standard input.
func serveSocket() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, l.Addr()); err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go sendFrames(c)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// sendFrames takes the handshake and sends until the client leaves.
func sendFrames(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if _, err := fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:])); err != nil {
		return
	}
	var mu sync.Mutex // one write at a time
	go func() {
		defer c.Close()
		for {
			pong, err := nextPing(r)
			if err != nil {
				return
			}
			mu.Lock()
			_, err = c.Write(pong)
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	round := newRound()
	for {
		round.advance()
		mu.Lock()
		_, err := c.Write(round.bytes)
		mu.Unlock()
		if err != nil {
			return
		}
	}
}

// nextPing reads up to a ping and gives its pong. Clients send small frames.
func nextPing(r *bufio.Reader) ([]byte, error) {
	for {
		var head [6]byte // kind, length, mask
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		body := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		for i := range body {
			body[i] ^= head[2+i%4]
		}
		if head[0]&0x0f == 9 {
			return append([]byte{0x8a, byte(len(body))}, body...), nil
		}
	}
}

// round is frames in one piece, in which ids and times are written over.
type round struct {
	bytes   []byte
	symbols []int
	ids     []int    // where each frame's id stands
	times   [][2]int // and its times
	next    [socketSymbols]int64
	now     int64
}

func newRound() *round {
	r := &round{now: firstTime}
	for i := range r.next {
		r.next[i] = firstID
	}
	for n := range socketRound {
		s := n * 7 % 31 % socketSymbols // some come more often than others
		name := socketSymbol(s)
		head := fmt.Sprintf(`{"stream":"%s@trade","data":{"e":"trade","E":`, strings.ToLower(name))
		id := fmt.Sprintf(`,"s":"%s","t":`, name)
		price := fmt.Sprintf(`,"p":"%d.%04d0000","q":"0.%05d000","T":`, 55_000+n%97, n*37%10_000, 1+n*7919%99_999)
		tail := fmt.Sprintf(`,"m":%t,"M":true}}`, n%3 == 0)
		length := len(head) + 16 + len(id) + 10 + len(price) + 16 + len(tail)
		r.bytes = append(r.bytes, 0x81, 126)
		r.bytes = binary.BigEndian.AppendUint16(r.bytes, uint16(length))
		r.bytes = append(r.bytes, head...)
		e := len(r.bytes)
		r.bytes = append(append(r.bytes, make([]byte, 16)...), id...)
		r.ids = append(r.ids, len(r.bytes))
		r.bytes = append(append(r.bytes, make([]byte, 10)...), price...)
		r.times = append(r.times, [2]int{e, len(r.bytes)})
		r.bytes = append(append(r.bytes, make([]byte, 16)...), tail...)
		r.symbols = append(r.symbols, s)
	}
	return r
}

// advance gives every frame the ids and times that follow.
func (r *round) advance() {
	for n, s := range r.symbols {
		r.now += 50
		strconv.AppendInt(r.bytes[r.ids[n]:r.ids[n]], r.next[s], 10)
		strconv.AppendInt(r.bytes[r.times[n][0]:r.times[n][0]], r.now+1000, 10)
		strconv.AppendInt(r.bytes[r.times[n][1]:r.times[n][1]], r.now, 10)
		r.next[s]++
	}
}
