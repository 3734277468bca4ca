"""Real sentences of many languages and encodings: each is offered the encoding it is in, first."""

import io

import pytest

from charrnn.text.encodings import advice, likely_encodings

# A text, and the encodings it is tried in.
TEXTS = [
    ("床前明月光\n疑是地上霜\n举头望明月\n低头思故乡", "gb18030 gbk gb2312 utf-16-le utf-16-be"),
    (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待",
        "gb18030 utf-16-le",
    ),
    ("Python 是一种解释型语言, version 3.8 以后支持 f-string。", "gb18030"),
    (
        "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神互相對",
        "big5 utf-16-le",
    ),
    ("床前明月光\n疑是地上霜\n舉頭望明月\n低頭思故鄉", "big5"),
    (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
        "shift_jis euc_jp utf-16-le",
    ),
    ("東京タワー\n大阪城\n京都駅\nさくら\nカラオケ", "shift_jis euc_jp"),
    (
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
        "euc_kr cp949 utf-16-le",
    ),
    ("김철수\n이영희\n박지민\n최수진", "euc_kr"),
    (
        "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены",
        "cp1251 koi8-r cp866 iso8859-5 utf-16-le",
    ),
    ("Анна\nИван\nМария\nПётр\nСергей\nОльга", "cp1251 koi8-r cp866 iso8859-5"),
    (
        "мороз и солнце день чудесный\nещё ты дремлешь друг прелестный",
        "cp1251 koi8-r cp866 iso8859-5",
    ),
    ("МОРОЗ И СОЛНЦЕ ДЕНЬ ЧУДЕСНЫЙ\nЕЩЁ ТЫ ДРЕМЛЕШЬ", "cp1251"),
    (
        "Всі люди народжуються вільними і рівними у своїй гідності та правах. Її їжа",
        "cp1251 koi8-u",
    ),
    ("Всички хора се раждат свободни и равни по достойнство и права. Те са надарени с", "cp1251"),
    (
        "Сва људска бића рађају се слободна и једнака у достојанству и правима. Она су",
        "cp1251 iso8859-5",
    ),
    (
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
        "cp1253 iso8859-7",
    ),
    ("כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון", "cp1255"),
    ("يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا", "cp1256"),
    ("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ", "cp874"),
    (
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Où est",
        "cp1252 mac-roman",
    ),
    (
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Où est ma",
        "cp437 cp850",
    ),
    ("Zoé\nFrançois\nHélène\nNoël\nRené\nChloé", "cp1252 cp437 mac-roman"),
    (
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Größe, Äpfel,",
        "cp1252 cp437 mac-roman",
    ),
    (
        "Todos los seres humanos nacen libres; ¿dónde está el señor Núñez? ¡Qué corazón más",
        "cp1252 cp437",
    ),
    ("Motley Cult\nSeñor Cult\nThe Ñandú", "cp1252"),
    (
        "Todos os homens nascem livres e iguais; razão, consciência, coração, não são índios",
        "cp1252",
    ),
    ("Hver maður er borinn frjáls og jafn öðrum að virðingu og réttindum. Þór, Æsir", "cp1252"),
    ("Alla människor är födda fria och lika i värde och rättigheter. Åke, Örjan", "cp1252 cp437"),
    ("Alle mennesker er født frie og lige i værdighed og rettigheder. Århus, Ærø,", "cp1252"),
    (
        "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
        "cp1250 iso8859-2 cp852",
    ),
    (
        "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni",
        "cp1250 iso8859-2",
    ),
    (
        "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Űrhajó,",
        "cp1250 iso8859-2",
    ),
    (
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İstanbul, ışık, çağ",
        "cp1254",
    ),
    ("Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas", "cp1257"),
    ("Perché la città è così bella? Andrò più tardi.", "cp1252"),
    ("it’s – “quoted” … and plain English", "cp1252"),
    ("天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。", "gb18030 big5"),
    ("王伟\n李娜\n张敏\n刘洋\n陈静", "gb18030"),
    ("int main() { // 主函数：程序从这里开始执行\n  return 0; /* 返回零 */\n}", "gb18030"),
    ("中国", "gb18030"),
    ("白日依山尽\n黄河入海流\n欲穷千里目\n更上一层楼", "gb18030 utf-16-be"),
    ("吾輩は猫である。名前はまだ無い。どこで生れたか頓と見当がつかぬ。", "shift_jis euc_jp"),
    ("佐藤\n鈴木\n高橋\n田中\n伊藤\n渡辺", "shift_jis"),
    ("나 보기가 역겨워 가실 때에는 말없이 고이 보내 드리우리다", "euc_kr"),
    (
        "Я помню чудное мгновенье: передо мной явилась ты, как мимолётное виденье, как гений",
        "cp1251 koi8-r cp866 iso8859-5",
    ),
    ("Привет, мир!", "cp1251 koi8-r cp866"),
    ("Москва\nКазань\nСамара\nОмск\nТомск\nУфа", "cp1251 koi8-r cp866 iso8859-5"),
    ("Σε γνωρίζω από την κόψη του σπαθιού την τρομερή, σε γνωρίζω από την όψη", "cp1253 iso8859-7"),
    ("בראשית ברא אלהים את השמים ואת הארץ והארץ היתה תהו ובהו", "cp1255"),
    ("بسم الله الرحمن الرحيم الحمد لله رب العالمين", "cp1256"),
    ("สวัสดีครับ ผมชื่อสมชาย ยินดีที่ได้รู้จัก", "cp874"),
    (
        "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte,",
        "cp1252 cp850 mac-roman",
    ),
    ("café", "cp1252 cp437 mac-roman"),
    (
        "Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du kaum einen Hauch; die",
        "cp1252 cp437",
    ),
    ("Jürgen\nJörg\nGünther\nBärbel\nSören", "cp1252 cp437 cp850 mac-roman"),
    ("En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo", "cp1252"),
    (
        "As armas e os barões assinalados, que da ocidental praia lusitana, por mares nunca",
        "cp1252",
    ),
    (
        "Litwo! Ojczyzno moja! ty jesteś jak zdrowie. Ile cię trzeba cenić, ten tylko się",
        "cp1250 iso8859-2",
    ),
    ("Łukasz\nMałgorzata\nPaweł\nMichał\nStanisław\nGrażyna", "cp1250 iso8859-2"),
    (
        "Kde domov můj, kde domov můj? Voda hučí po lučinách, bory šumí po skalinách",
        "cp1250 iso8859-2",
    ),
    ("Jiří\nTomáš\nOndřej\nZdeněk\nŠtěpán\nLukáš", "cp1250"),
    (
        "Talpra magyar, hí a haza! Itt az idő, most vagy soha! Rabok legyünk vagy szabadok?",
        "cp1250",
    ),
    ("Korkma, sönmez bu şafaklarda yüzen al sancak; sönmeden yurdumun üstünde tüten en", "cp1254"),
    ("Ayşe\nÇağla\nİbrahim\nYıldız\nGökhan\nŞükrü", "cp1254"),
    ("Deşteaptă-te, române, din somnul cel de moarte, în care te-adânciră barbarii de", "cp1250"),
    (
        "Du gamla, du fria, du fjällhöga nord, du tysta, du glädjerika sköna! Åska över",
        "cp1252 cp437",
    ),
    ("Der er et yndigt land, det står med brede bøge nær salten østerstrand", "cp1252 cp850"),
    (
        "Dievs, svētī Latviju, mūsu dārgo tēviju, svētī jel Latviju, ak, svētī jel to! šķēps",
        "cp1257",
    ),
    (
        "Ще не вмерла України і слава, і воля, ще нам, браття молодії, усміхнеться доля.",
        "cp1251 koi8-u",
    ),
    ("She said “hello” — and that’s all.", "cp1252 mac-roman"),
    ("It costs £5 or €6", "cp1252"),
    ("Heat oven to 180°C for 20 min; add ½ cup", "cp1252"),
]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(text, encoding) for text, encodings in TEXTS for encoding in encodings.split()],
)
def test_a_sentence_is_offered_its_encoding_first(text, encoding):
    data = f"{text}\n".encode(encoding)
    best = likely_encodings(io.BytesIO(data))[0]
    assert data.decode(best.name) == f"{text}\n"


def test_what_no_encoding_reads_as_a_language_is_offered_none():
    assert likely_encodings(io.BytesIO(bytes(range(128, 256)) * 3)) == []


def test_advice_comes_with_a_piece_of_the_text():
    data = ("床前明月光\n" * 20).encode("gb18030")
    assert advice(io.BytesIO(data), "utf-8") == (
        "--encoding gb18030 (Chinese, simplified), as which all of it decodes: 床前明月光; "
        "or --errors replace"
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_text_without_its_mark_is_known_by_its_zeros(encoding):
    data = "Hübsch ist das Leben\n".encode(encoding)
    assert f"--encoding {encoding}, as which" in advice(io.BytesIO(data), "utf-8")
