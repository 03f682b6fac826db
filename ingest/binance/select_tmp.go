package binance

type Selection struct{ names []string }

func Names(names ...string) Selection                                   { return Selection{names} }
func (s Selection) NeedsTickers() bool                                  { return false }
func (s Selection) Plain() ([]string, bool)                             { return s.names, true }
func (s Selection) Choose(*ExchangeInfo, []Ticker24h) ([]string, error) { return s.names, nil }
