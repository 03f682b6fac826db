package collect

import (
	"os"
	"testing"

	"millrace/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
